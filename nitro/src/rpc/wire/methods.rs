//! The numbers that methods have on a connection, at the side that gives them.

use std::collections::BTreeMap;

use super::message::{METHOD_UNNUMBERED, METHODS_MAX, MethodName};
use crate::name::Name;

/// The methods that have been called on a connection.
#[derive(Default)]
pub(super) struct Methods {
    numbers: BTreeMap<(Name, Name), u16>,
    /// The one that was called last: most calls follow one of the same method.
    last: Option<(Name, Name, u16)>,
}

impl Methods {
    /// How a CALL names a method, which has a number from now on if there is one left.
    pub(super) fn name<'a>(&mut self, path: &'a Name, content_type: &'a Name) -> MethodName<'a> {
        if let Some((last_path, last_type, number)) = &self.last
            && last_path == path
            && last_type == content_type
        {
            return MethodName::Known(*number);
        }
        let names = (path.clone(), content_type.clone());
        let (number, is_new) = match self.numbers.get(&names) {
            Some(number) => (*number, false),
            None => {
                let next = u16::try_from(self.numbers.len()).ok();
                let next = next.filter(|number| *number < METHODS_MAX);
                let Some(number) = next else {
                    return MethodName::New {
                        number: METHOD_UNNUMBERED,
                        path,
                        content_type,
                    };
                };
                self.numbers.insert(names, number);
                (number, true)
            }
        };
        self.last = Some((path.clone(), content_type.clone(), number));
        if is_new {
            return MethodName::New {
                number,
                path,
                content_type,
            };
        }
        MethodName::Known(number)
    }
}
