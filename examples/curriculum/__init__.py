"""The systems of the courses, one by one: what each has to give, what it gives, and a picture.

`make curriculum` draws every picture into docs/curriculum/, prints the table and writes docs/curriculum.md.
"""
