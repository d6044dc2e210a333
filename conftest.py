"""Components register themselves once: pytest, given one of their files, must find the package imported already."""

import fedsim.build.components  # noqa: F401 - imports every registry's package
