"""nbgrader's settings for this course; `nbgrader --help-all` lists what else there is."""

c = get_config()  # noqa: F821 (nbgrader gives it to this file)

c.CourseDirectory.course_id = "minivivit"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "INSTRUCTOR.md"]

# A first cell for every assignment: names, and how to hand it in.
c.IncludeHeaderFooter.header = "source/header.ipynb"

# Seconds a cell may take. The checks stop a function after 5 seconds a case; this stops a loop outside of functions.
c.Execute.timeout = 60
