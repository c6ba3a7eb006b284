//! What a lookup finds.

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup<T, N> {
    /// A value.
    Hit(T),
    /// A negative entry: the writer recorded that there is no value, and why.
    Negative(N),
    /// No entry.
    Miss,
}

impl<T, N> Lookup<T, N> {
    /// The value, if there is one.
    pub fn hit(self) -> Option<T> {
        match self {
            Self::Hit(value) => Some(value),
            _ => None,
        }
    }

    /// Applies `f` to a value found.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Lookup<U, N> {
        match self {
            Self::Hit(value) => Lookup::Hit(f(value)),
            Self::Negative(negative) => Lookup::Negative(negative),
            Self::Miss => Lookup::Miss,
        }
    }
}
