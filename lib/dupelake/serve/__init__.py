"""`dupelake serve`: checks, groups, images and verdicts over HTTP."""
