"""A part that cannot be imported: listing the names must not try to, and asking for it must say why."""

raise ImportError("revseg_corner.unlicensed needs a licence server")
