"""The mathematics of Recursive Gradient Optimization on arrays of any namespace.

Every function takes and returns arrays of NumPy, CuPy, PyTorch, JAX or any other
namespace that follows the array API standard, keeps their device, and writes to none of
its arguments but those that are donated. Second moments and P are float64, unless
`consolidate` is given a dtype: that of the gradients that P is to meet. The whole
method in three lines:

>>> import numpy as np
>>> moment = observe(empty_moment(2), np.asarray([[3.0, 0.0]]))
>>> P = consolidate(moment, damping=1.0)
>>> project(P, np.asarray([[1.0], [1.0]]))
array([[0.18181818],
       [1.81818182]])

Where the paper (Liu and Liu, ICLR 2022) is in the code:

==============================================  ========================================
paper                                           code
==============================================  ========================================
equation 9, a step ``n / trace(P) P G``         `project`, `normalize`
equation 10, the best projection                `optimal_projection`
equation 12, curvature vectors                  `curvature_vectors`, `bias_vectors`
equation 13, l'' of the loss                    `softmax_hessian`, `score_cotangents`
Algorithm 1, recursive least squares            `gain`, `update_projection`
the same from sums                              `observe`, `consolidate`
sums of two tasks, or two workers               `merge_moments`
section 4, the feature encoding layer           `task_permutation`, `permute`
Theorem 1, steps keep their length              `normalize`
Theorem 2, forgetting is bounded                `forgetting_bound`
Theorem 3, layer by layer                       `projected_curvature`
Theorem 6, one quadratic for all old losses     `recursive_least_loss`
appendix B.1, the true class alone              `ground_truth_weights`
appendix B.2, the cheaper side                  `project_factors`
==============================================  ========================================
"""

from rgo_core import _renamed
from rgo_core.axes import Axes, check_axes_fit, features, group_shape
from rgo_core.best_projection import optimal_projection, projected_curvature
from rgo_core.bounds import forgetting_bound, recursive_least_loss
from rgo_core.consolidation import consolidate
from rgo_core.cotangents import (
    independent_cotangents,
    independent_weights,
    score_cotangents,
)
from rgo_core.damping import Relative, measured_damping
from rgo_core.diagonal import DiagonalMoment, DiagonalProjection, empty_diagonal
from rgo_core.extrapolation import enough_samples, extrapolate
from rgo_core.free_share import free_directions, plasticity
from rgo_core.loss_curvature import (
    ground_truth_weights,
    sigmoid_curvature,
    softmax_hessian,
    softmax_hessian_root,
    squared_error_curvature,
)
from rgo_core.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    learning_accuracy,
)
from rgo_core.permutation import inverse_permutation, permute, task_permutation
from rgo_core.projecting import project, project_factors
from rgo_core.projection import as_matrix, normalize
from rgo_core.recursion import gain, update_projection
from rgo_core.rows import from_rows, to_rows
from rgo_core.second_moment import (
    SecondMoment,
    empty_moment,
    merge_moments,
    observe,
)
from rgo_core.signs import output_contrast, output_signs
from rgo_core.sketch import LowRankProjection, SketchedMoment, empty_sketch
from rgo_core.vectors import bias_vectors, curvature_vectors, reduce_outputs

__all__ = [
    "Axes",
    "DiagonalMoment",
    "DiagonalProjection",
    "LowRankProjection",
    "Relative",
    "SecondMoment",
    "SketchedMoment",
    "as_matrix",
    "average_accuracy",
    "backward_transfer",
    "bias_vectors",
    "check_axes_fit",
    "consolidate",
    "curvature_vectors",
    "empty_diagonal",
    "empty_moment",
    "empty_sketch",
    "enough_samples",
    "extrapolate",
    "features",
    "forgetting",
    "forgetting_bound",
    "forward_transfer",
    "free_directions",
    "from_rows",
    "gain",
    "ground_truth_weights",
    "group_shape",
    "independent_cotangents",
    "independent_weights",
    "inverse_permutation",
    "learning_accuracy",
    "measured_damping",
    "merge_moments",
    "normalize",
    "observe",
    "optimal_projection",
    "output_contrast",
    "output_signs",
    "permute",
    "plasticity",
    "project",
    "project_factors",
    "projected_curvature",
    "recursive_least_loss",
    "reduce_outputs",
    "score_cotangents",
    "sigmoid_curvature",
    "softmax_hessian",
    "softmax_hessian_root",
    "squared_error_curvature",
    "task_permutation",
    "to_rows",
    "update_projection",
]


def __getattr__(name: str) -> object:
    # Names of 0.1.0, for one release more.
    return _renamed.renamed(name, __name__, globals())
