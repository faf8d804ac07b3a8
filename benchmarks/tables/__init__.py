"""The paper's Tables 1 and 2 and its Figure 2, for any two domains."""
