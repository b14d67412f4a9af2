"""Position embeddings of a pretrained model for a model with other tokens: the rules of scenic."""

import numpy
import scipy.ndimage

from minivivit.errors import InputError

POSITION_INITS = ("tile", "resize", "resize_tile")


def resize_positions(positions: numpy.ndarray, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> numpy.ndarray:
    """Resample a grid linearly over rows and columns, the corners staying where they are.

    Parameters
    ----------
    positions : array, shape (rows * columns, hidden)
    old_grid, new_grid : (rows, columns)

    Returns
    -------
    array, shape (new rows * new columns, hidden)

    References
    ----------
    scenic ``model_utils.interpolate_positional_embeddings`` (square grids; here of any shape).
    """
    hidden = positions.shape[-1]
    zoom = (new_grid[0] / old_grid[0], new_grid[1] / old_grid[1], 1)
    return scipy.ndimage.zoom(positions.reshape(*old_grid, hidden), zoom, order=1).reshape(-1, hidden)


def resample_positions_over_time(positions: numpy.ndarray, times: int) -> numpy.ndarray:
    """Resample a sequence linearly, (old times, hidden) -> (times, hidden), the ends staying where they are.

    References
    ----------
    scenic ``model_utils.interpolate_1d_positional_embeddings``.
    """
    return scipy.ndimage.zoom(positions, (times / len(positions), 1), order=1)


def tile_positions(positions: numpy.ndarray, times: int) -> numpy.ndarray:
    """The same places at every time, (places, hidden) -> (times * places, hidden): the paper's section 3.4.

    References
    ----------
    scenic ``model_utils.tile_positional_embeddings``.
    """
    return numpy.concatenate([positions] * times, axis=0)


def adapt_positions(
    positions: numpy.ndarray, old_grid: tuple[int, int], new_grid: tuple[int, int, int], method: str
) -> numpy.ndarray:
    """Position embeddings of one image for a clip.

    Parameters
    ----------
    positions : array, shape (rows * columns, hidden)
        Without that of a CLS token.
    old_grid : (rows, columns)
    new_grid : (times, rows, columns)
    method : {"tile", "resize", "resize_tile"}
        The same embeddings at every time; another number of rows and columns; or first this, then that.

    Returns
    -------
    array, shape (times * rows * columns, hidden)

    Raises
    ------
    InputError
        When the method does not lead from the old grid to the new one.

    Notes
    -----
    Scenic's results, but for two cases in which they make no sense: it tiles wherever the number of tokens is a
    multiple, also rows of one width into rows of another, which we refuse; and its "resize_tile" takes the places of
    one frame, all that Model 2's spatial encoder sees, for those of the whole clip, where we resize.
    """
    times, *places = new_grid
    if method == "resize" and times != 1:
        raise InputError(
            f"position_init 'resize' makes embeddings for one frame of {places[0]} x {places[1]} tokens, but the model "
            f"has {times}: use 'resize_tile'"
        )
    if method == "tile" and old_grid != tuple(places):
        raise InputError(
            f"position_init 'tile' repeats the image model's {old_grid[0]} x {old_grid[1]} embeddings, but the model "
            f"has {places[0]} x {places[1]} tokens a frame: use 'resize_tile'"
        )
    if method != "tile":
        positions = resize_positions(positions, old_grid, (places[0], places[1]))
    return tile_positions(positions, times)
