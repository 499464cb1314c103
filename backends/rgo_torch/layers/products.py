"""The products of a method, found in its source: which parameters, from which side."""

import ast
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from rgo_torch.layers.einsum import Term, terms

Side = Literal["linear", "left", "right", "convolved"]


class Factor(NamedTuple):
    """A parameter of a product."""

    name: str
    flipped: bool = False  # whether it is transposed before
    is_part: bool = False  # what is multiplied is one of a list, or along its axis 0


class Use(NamedTuple):
    """How a parameter is multiplied: from a side, or by the letters of an einsum."""

    side: Side | Term
    factor: Factor


# Functions by their names, and which of their arguments are multiplied from where.
PRODUCTS: Mapping[str, Mapping[int, Side]] = {
    "linear": {1: "linear"},
    **{name: {0: "left", 1: "right"} for name in ("matmul", "mm", "bmm")},
    **{name: {1: "left", 2: "right"} for name in ("addmm", "baddbmm")},
    **{name: {1: "convolved"} for name in ("conv1d", "conv2d", "conv3d")},
}
TRANSPOSES = frozenset({"T", "mT", "t", "transpose", "swapaxes"})
UNGROUPED = 6  # arguments of a convolution before its groups


def _is_grouped(call: ast.Call, name: str) -> bool:
    named = any(keyword.arg == "groups" for keyword in call.keywords)
    return name.startswith("conv") and (named or len(call.args) > UNGROUPED)


def _parts(factors: Iterable[Factor]) -> list[Factor]:
    return [factor._replace(is_part=True) for factor in factors]


class Products(ast.NodeVisitor):
    """Finds the products in a method; a factor is made of parameters alone.

    Parameters
    ----------
    method : ast.FunctionDef
        With an argument at least, the module.

    Attributes
    ----------
    found : dict of str to Use
        By what the method calls ``self.name``: the outermost use first.
    added : set of str
        What it adds to something that is no parameter, or takes from it.
    """

    def __init__(self, method: ast.FunctionDef) -> None:
        self.found: dict[str, Use] = {}
        self.added: set[str] = set()
        first, *others = method.args.args
        self._self = first.arg
        self._local = {each.arg for each in (*others, *method.args.kwonlyargs)}
        self._local |= {
            node.id
            for node in ast.walk(method)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        self._alias: dict[str, list[Factor]] = {}
        for statement in method.body:
            self.visit(statement)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Follow a name that stands for parameters."""
        self.generic_visit(node)
        for target in node.targets:
            self._name(target, node.value)
            for part in getattr(target, "elts", ()):
                self._name_each(part, node.value)

    def visit_For(self, node: ast.For) -> None:
        """Follow a name that stands for one of several parameters."""
        self._name_each(node.target, node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.GeneratorExp) -> None:
        """Follow it through a comprehension."""
        for each in node.generators:
            self._name_each(each.target, each.iter)
        self.generic_visit(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """As a list."""
        self.visit_ListComp(node)

    def _name(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._alias.pop(target.id, None)
            if factors := self._factors(value):
                self._alias[target.id] = factors

    def _name_each(self, target: ast.expr, values: ast.expr) -> None:
        function = getattr(getattr(values, "func", None), "id", None)
        if isinstance(target, ast.Tuple) and function in ("enumerate", "zip"):
            assert isinstance(values, ast.Call)  # it has a function
            last = target.elts[-len(values.args) :]
            for name, value in zip(last, values.args, strict=False):
                self._name_each(name, value)
        elif isinstance(target, ast.Name):
            self._alias.pop(target.id, None)
            if factors := self._factors(values):
                named = isinstance(values, ast.Tuple | ast.List)  # whole, one by one
                self._alias[target.id] = factors if named else _parts(factors)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Look at ``a @ b`` and ``a + b``."""
        if isinstance(node.op, ast.MatMult):
            self._note(node.left, "left")
            self._note(node.right, "right")
        if isinstance(node.op, ast.Add | ast.Sub):
            sides = [self._factors(side) for side in (node.left, node.right)]
            if None in sides:
                self.added |= {f.name for factors in sides for f in factors or ()}
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Look at the functions and methods of products."""
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if not self._is_own(node.func):
            if name == "einsum":
                for term, operand in terms(node.args, self._is_foreign):
                    self._note(operand, term)
            args = self._arguments(node)
            sides = {} if _is_grouped(node, name) else PRODUCTS.get(name, {})
            for place, side in sides.items():
                for operand in args[place : place + 1]:
                    self._note(operand, side)
        self.generic_visit(node)

    def _arguments(self, node: ast.Call) -> list[ast.expr]:
        """Return the arguments of a function, or of a tensor's method."""
        receiver = getattr(node.func, "value", None)
        of_module = receiver is None or self._factors(receiver) == []
        args = node.args if of_module else [receiver, *node.args]
        return [*args, *(k.value for k in node.keywords if k.arg == "weight")]

    def _is_own(self, function: ast.expr) -> bool:
        """Whether it is ``self.name``, most likely a module that is called."""
        receiver = getattr(function, "value", None)
        return isinstance(receiver, ast.Name) and receiver.id == self._self

    def _note(self, operand: ast.expr, side: Side | Term) -> None:
        for factor in self._factors(operand) or ():
            self.found.setdefault(factor.name, Use(side, factor))

    def _is_foreign(self, operand: ast.expr) -> bool:
        return not self._factors(operand)

    def _factors(self, node: ast.AST | None) -> list[Factor] | None:
        """Return the parameters of an expression; None where it has anything else."""
        if node is None or isinstance(node, ast.Constant):
            return []
        if isinstance(node, ast.Name):
            known: list[Factor] | None = (
                [] if node.id not in self._local | {self._self} else None
            )
            return self._alias.get(node.id, known)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == self._self:
                return [Factor(node.attr)]
            return self._turned(node.attr, self._factors(node.value))
        if isinstance(node, ast.UnaryOp):
            return self._factors(node.operand)
        if isinstance(node, ast.Subscript):  # of a list of parameters, most likely
            factors = self._factors(node.value)
            return factors and _parts(factors)
        if isinstance(node, ast.BinOp):
            return self._joined([node.left, node.right])
        if isinstance(node, ast.Call) and not self._is_own(node.func):
            method = getattr(node.func, "attr", "")
            args = [node.func, *node.args, *(k.value for k in node.keywords)]
            if method in TRANSPOSES:
                args = [node.func]
            return self._joined(args)
        if isinstance(node, ast.Tuple | ast.List):
            return self._joined(node.elts)
        return None

    def _joined(self, parts: Iterable[ast.expr]) -> list[Factor] | None:
        each = [self._factors(part) for part in parts]
        if any(factors is None for factors in each):
            return None
        return [factor for factors in each for factor in factors or ()]

    @staticmethod
    def _turned(attribute: str, factors: list[Factor] | None) -> list[Factor] | None:
        if factors is None or attribute not in TRANSPOSES:
            return factors
        return [factor._replace(flipped=not factor.flipped) for factor in factors]
