"""revseg: reasoning video segmentation, in parts that swap in one line.

The public names are listed in `__init__.pyi` and imported when first used: `import revseg` loads neither torch nor
OpenCV.
"""

import lazy_loader

from revseg.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
