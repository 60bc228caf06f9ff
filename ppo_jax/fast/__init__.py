"""The same values, sooner: each function says what it equals, and stands beside its plain form."""
