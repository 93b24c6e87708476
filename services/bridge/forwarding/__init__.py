"""Between core's doors and the children: their lists, calls, questions and notifications."""
