"""What is wrong with a cohort: every finding of one pass, as a report for people and machines."""
