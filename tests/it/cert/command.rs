//! The commands `mantlet cert show` and `mantlet cert verify`.
