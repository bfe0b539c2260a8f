//! The name in Via, as configured.

use std::sync::Arc;

use serde_json::json;

use crate::{
    exchange::Via,
    schema::{Node, Reader, Value, name},
};

impl Value for Via {
    fn kind() -> String {
        "`on`, `off` or a name".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1, "maxLength": MOST, "examples": ["on", "off", "edge-1"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match reader.text(node, &Self::kind())? {
            "on" => Some(Self::Own),
            "off" => Some(Self::Off),
            text if name::is_token(text) && text.len() <= MOST => {
                Some(Self::Named(Arc::new(text.to_owned())))
            }
            text => {
                let message = format!("`{text}` is not a valid name for Via");
                let hint = "use \"on\", \"off\", or a name of letters, digits and `-._`, such as \"edge-1\"";
                reader.problem_with(node.place, message, hint);
                None
            }
        }
    }
}

/// Bytes of a name: it is in every message.
const MOST: usize = 64;
