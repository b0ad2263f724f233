//! A set of names that mostly holds one: a sorted vector without spare room, since ten thousand
//! Services have several each.

use std::sync::Arc;

/// A set of few names.
#[derive(Debug, Default)]
pub(super) struct NameSet(Vec<Arc<str>>);

impl NameSet {
    pub(super) fn insert(&mut self, name: Arc<str>) {
        if let Err(at) = self.0.binary_search(&name) {
            if self.0.len() < 4 {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, name);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Ok(at) = self.0.binary_search_by(|known| (**known).cmp(name)) {
            self.0.remove(at);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their text.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_each_name_once_and_in_order() {
        let mut few = NameSet::default();
        for name in ["c", "a", "b", "a", "e", "d", "f"] {
            few.insert(name.into());
        }
        few.remove("e");
        few.remove("z");
        assert_eq!(few.iter().map(|name| &**name).collect::<String>(), "abcdf");
        for name in ["a", "b", "c", "d", "f"] {
            assert!(!few.is_empty());
            few.remove(name);
        }
        assert!(few.is_empty());
    }
}
