//! Everything with effects: each file one loop. Siblings never import each other, except for `api`
//! and `transport`, which are leaves.
