//! The garbage collector and the namespace controller, as one step that is taken when asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::delete::DeleteOptions;
use crate::api::kind::Kind;
use crate::api::path::Target;
use crate::rules::meta;
use crate::state::State;
use crate::store::{Key, Object};

/// Which controllers take their steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// The garbage collector: deletes what has lost its owners, works off deletion policies.
    pub garbage: bool,
    /// The namespace controller: empties and ends namespaces that are being deleted.
    pub namespaces: bool,
}

impl State {
    /// Does everything that these would do by now; returns the number of objects they touched.
    pub(crate) fn collect(&mut self, which: Controllers) -> usize {
        let mut touched = 0;
        // Each round can set free what the next one takes; every round that counts takes something.
        loop {
            let mut round = 0;
            if which.garbage {
                round += self.orphan_or_cascade() + self.drop_orphans();
            }
            if which.namespaces {
                round += self.empty_namespaces();
            }
            if round == 0 {
                return touched;
            }
            touched += round;
        }
    }

    fn everything(&self) -> Vec<Arc<Object>> {
        Kind::ALL
            .into_iter()
            .flat_map(|k| self.store.list(k, "").cloned())
            .collect()
    }

    /// Works off the two finalizers that deletion policies leave behind.
    fn orphan_or_cascade(&mut self) -> usize {
        let all = self.everything();
        let mut touched = 0;
        for owner in all.iter().filter(|o| meta::is_deleting(&o.value)) {
            let finalizers = meta::strings(&owner.value, "finalizers");
            let dependents: Vec<&Arc<Object>> = all
                .iter()
                .filter(|o| owners(&o.value).any(|uid| uid == owner.uid()))
                .collect();
            if finalizers.iter().any(|f| f == "orphan") {
                for dependent in dependents {
                    touched += self.keep_owners(dependent, |uid| uid != owner.uid());
                }
                touched += self.drop_finalizer(owner, "orphan");
            } else if finalizers.iter().any(|f| f == "foregroundDeletion") {
                if dependents.is_empty() {
                    touched += self.drop_finalizer(owner, "foregroundDeletion");
                }
                for dependent in dependents {
                    touched += self.discard(dependent);
                }
            }
        }
        touched
    }

    /// Deletes what has lost all its owners; forgets the lost ones of the rest.
    fn drop_orphans(&mut self) -> usize {
        let all = self.everything();
        let alive: BTreeSet<String> = all.iter().map(|o| o.uid().to_owned()).collect();
        let mut touched = 0;
        for object in &all {
            let (kept, lost): (Vec<&str>, Vec<&str>) =
                owners(&object.value).partition(|uid| alive.contains(*uid));
            if lost.is_empty() {
                continue;
            }
            touched += if kept.is_empty() {
                self.discard(object)
            } else {
                self.keep_owners(object, |uid| alive.contains(uid))
            };
        }
        touched
    }

    /// The namespace controller: content first, the namespace when nothing is left.
    fn empty_namespaces(&mut self) -> usize {
        let leaving: Vec<Arc<Object>> = self
            .store
            .list(Kind::Namespace, "")
            .filter(|n| meta::is_deleting(&n.value))
            .cloned()
            .collect();
        let mut touched = 0;
        for namespace in leaving {
            let name = namespace.key().1;
            let content: Vec<Arc<Object>> = Kind::ALL
                .into_iter()
                .filter(|k| k.is_namespaced())
                .flat_map(|k| self.store.list(k, &name).cloned())
                .collect();
            if content.is_empty() {
                touched += usize::from(self.erase(Kind::Namespace, &namespace.key()).is_some());
            }
            for object in content {
                touched += self.discard(&object);
            }
        }
        touched
    }

    /// Deletes like any client; an object that is on its way already does not count.
    fn discard(&mut self, object: &Arc<Object>) -> usize {
        let (namespace, name) = object.key();
        let target = Target {
            kind: object.kind,
            namespace,
            name,
            subresource: String::new(),
        };
        let before = self.store.rv();
        let options = DeleteOptions {
            uid: Some(object.uid().to_owned()),
            ..DeleteOptions::default()
        };
        // Refused (by admission, or gone meanwhile) means: not now.
        let _ = self.delete(&target, &options);
        usize::from(self.store.rv() != before)
    }

    /// Takes owners out of an object.
    fn keep_owners(&mut self, object: &Arc<Object>, keep: impl Fn(&str) -> bool) -> usize {
        let mut value = object.value.clone();
        if let Some(list) = value["metadata"]["ownerReferences"].as_array_mut() {
            list.retain(|o| keep(o["uid"].as_str().unwrap_or_default()));
        }
        self.settle(object, value)
    }

    /// Takes a finalizer out; the object goes if it was the last.
    fn drop_finalizer(&mut self, object: &Arc<Object>, name: &str) -> usize {
        let mut value = object.value.clone();
        let mut left = meta::strings(&value, "finalizers");
        left.retain(|f| f != name);
        value["metadata"]["finalizers"] = json!(left);
        self.settle(object, value)
    }

    /// Stores what the collector made of an object, or lets it go if nothing holds it any more.
    fn settle(&mut self, object: &Arc<Object>, mut value: Value) -> usize {
        let key: Key = object.key();
        // A version that was replaced meanwhile is not overwritten.
        if self
            .store
            .get(object.kind, &key)
            .is_none_or(|o| o.rv != object.rv)
        {
            return 0;
        }
        meta::normalize(&mut value);
        let waiting = meta::of(&value)
            .get("deletionGracePeriodSeconds")
            .and_then(Value::as_u64);
        let done = meta::is_deleting(&value)
            && waiting.unwrap_or(0) == 0
            && meta::strings(&value, "finalizers").is_empty();
        if done {
            self.erase(object.kind, &key);
        } else {
            self.commit(object.kind, value);
        }
        1
    }
}

fn owners(value: &Value) -> impl Iterator<Item = &str> {
    let list = meta::of(value)
        .get("ownerReferences")
        .and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|o| o["uid"].as_str())
}
