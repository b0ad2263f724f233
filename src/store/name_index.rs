//! Which source has which name: indices from sources to names, and back.

use std::sync::Arc;

use super::name_set::NameSet;
use super::namespace::{Map, Touched};
use crate::logic::model::Meta;

/// A name for some of the sources, and the way back.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    names: Map<Arc<str>>,
    sources: Map<NameSet>,
}

impl NameIndex {
    /// The name that a source points to.
    pub(super) fn of(&self, source: &str) -> Option<&Arc<str>> {
        self.names.get(source)
    }

    /// The sources that point to a name.
    pub(super) fn sources(&self, name: &str) -> impl Iterator<Item = &Arc<str>> {
        self.sources.get(name).into_iter().flat_map(NameSet::iter)
    }

    /// Has a source point to a name, or to none.
    pub(super) fn point(&mut self, source: &Arc<str>, name: Option<&Arc<str>>) {
        if self.names.get(source) == name {
            return;
        }
        if let Some(old) = self.names.remove(source) {
            drop_name(&mut self.sources, &old, source);
        }
        if let Some(name) = name {
            let sources = self.sources.entry(Arc::clone(name)).or_default();
            sources.insert(Arc::clone(source));
            self.names.insert(Arc::clone(source), Arc::clone(name));
        }
    }
}

/// Moves an object from the sources it was related to, to those it is related to now.
pub(super) fn relate<'a, I: Iterator<Item = &'a Arc<str>>>(
    index: &mut Map<NameSet>,
    before: Option<&'a Meta>,
    after: Option<&'a Meta>,
    sources: impl Fn(&'a Meta) -> I,
) -> Touched {
    let mut touched = Touched::new();
    for (meta, is_related) in [(before, false), (after, true)] {
        for (source, meta) in meta
            .into_iter()
            .flat_map(|meta| sources(meta).map(move |source| (source, meta)))
        {
            if is_related {
                index
                    .entry(Arc::clone(source))
                    .or_default()
                    .insert(Arc::clone(&meta.name));
            } else {
                drop_name(index, source, &meta.name);
            }
            touched.insert(Arc::clone(source));
        }
    }
    touched
}

fn drop_name(index: &mut Map<NameSet>, at: &Arc<str>, name: &Arc<str>) {
    if let Some(names) = index.get_mut(at) {
        names.remove(name);
        if names.is_empty() {
            index.remove(at);
        }
    }
}
