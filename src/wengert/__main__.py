"""``python -m wengert``."""

from .cli import main

raise SystemExit(main())
