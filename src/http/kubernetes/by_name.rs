//! Objects whose members are read by name. What is derived would take a list, too, and read it by place: then a pod would
//! be another one here than it is for everybody else.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// For a member that has to be there: `#[serde(deserialize_with = "by_name")]`.
pub(super) fn by_name<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    ByName::deserialize(deserializer).map(|ByName(object)| object)
}

/// For one that may be absent or null: `#[serde(default, deserialize_with = "by_name_if_any")]`.
pub(super) fn by_name_if_any<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<ByName<T>>::deserialize(deserializer)?.map(|ByName(object)| object))
}

/// An object, and no list.
pub(super) struct ByName<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = ByName<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<ByName<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(ByName)
            }
        }
        deserializer.deserialize_map(Reader(PhantomData))
    }
}
