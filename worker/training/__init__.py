"""How the pocket weights were made: teachers, data, training, evaluation.  Not in the wheel."""
