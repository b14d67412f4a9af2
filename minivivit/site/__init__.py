"""The course as a static web site: to read, and to run in the reader's browser."""
