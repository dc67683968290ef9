"""Where a network can run."""

import torch


def usable(device: str | torch.device) -> torch.device:
    """The device, tried. Raises ValueError for one that is not there.

    >>> usable("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:  # an assertion where torch was built without CUDA
        raise ValueError(f"the device {device!r} cannot be used here ({str(error).splitlines()[0]}); \"cpu\" always "
                         "can") from None
    return found
