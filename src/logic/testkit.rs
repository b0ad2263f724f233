//! For tests only: builders for pods and Services, a model cluster that takes writes as the API
//! server does, and a lab in which one machine works on it.

mod build;
mod lab;
mod see;
mod serve;
mod world;

pub(crate) use build::{PodSpec, pod, source};
pub(crate) use lab::Lab;
pub(crate) use serve::set_key;
pub(crate) use world::{Refusal, World};
