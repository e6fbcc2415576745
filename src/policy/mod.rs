//! Who may do what: one decision, in one place.
