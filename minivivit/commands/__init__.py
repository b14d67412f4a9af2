"""The commands of the command line, one a file: ``add_NAME_arguments(parser)`` and ``run_NAME(arguments)``."""
