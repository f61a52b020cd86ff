"""The main job: every real process on one machine, from enrolment to verified release."""
