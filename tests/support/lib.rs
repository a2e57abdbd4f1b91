//! Starts and ends the real programs for the workspace tests.
