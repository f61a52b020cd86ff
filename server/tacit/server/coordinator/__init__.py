"""The coordinator: tasks, rounds, the noise boundary, learners and releases."""
