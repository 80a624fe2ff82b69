"""`waiter fleet …`: the verbs for many hosts, their options, and what they would send."""
