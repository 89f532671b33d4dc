//! Owns the fold's look-ups in the embedded catalogue.

use crate::catalogue;

use super::input::{Catalogue, KnownInstance, KnownModel};

/// The catalogue that the binary carries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Embedded;

impl Catalogue for Embedded {
    fn model(&self, name: &str) -> Option<KnownModel> {
        let model = catalogue::models().resolve(name)?;
        Some(KnownModel {
            id: model.id.clone(),
            params_b: model.params_b,
        })
    }

    fn product(&self, label: &str) -> Option<String> {
        let products = catalogue::products();
        // `resolve_label` borrows from its argument as well as from the catalogue.
        products
            .resolve_label(label)
            .map(|found| found.product.key.clone())
    }

    fn instance(&self, provider: &str, instance_type: &str) -> Option<KnownInstance> {
        let instance = catalogue::instances().get(provider, instance_type)?;
        Some(KnownInstance {
            gpu_count: instance.gpu_count()?,
            gpu_product: instance.gpu_product.clone(),
        })
    }

    fn active_params_b(&self, id: &str) -> Option<f64> {
        catalogue::models()
            .get(id)
            .map(|model| model.active_params_b)
    }

    fn quantised(&self, id: &str) -> bool {
        catalogue::models()
            .get(id)
            .is_some_and(|model| model.native.is_quantised())
    }
}
