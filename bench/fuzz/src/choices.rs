//! Decisions taken from bytes: a fuzzer or a property test that makes up the bytes thereby
//! makes up an object, a command line or a chain of chunks.

/// The bytes not yet used. When they run out, every further choice is the first one there is, so
/// that what is built from few bytes is small.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, all of it.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// True once in so many times, and never when the bytes have run out.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// The first numbers of each width matter most, and so do their ends.
    pub fn number(&mut self) -> u64 {
        let small = u64::from(self.byte());
        match self.below(6) {
            0 => small,
            1 => 65_535_u64.wrapping_add(small).wrapping_sub(128),
            2 => small << 8 | u64::from(self.byte()),
            3 => i32::MAX as u64 - 128 + small,
            4 => (i64::MAX as u64).wrapping_add(small).wrapping_sub(128),
            _ => u64::MAX - small,
        }
    }

    /// A port as the API server takes them.
    pub fn port(&mut self) -> u16 {
        let number = u16::from(self.byte()) << 8 | u16::from(self.byte());
        self.pick(&[80, 443, 8080, 1, 65_535, number.max(1)])
    }

    /// A short text: mostly of what names are made of, sometimes of anything.
    pub fn text(&mut self) -> String {
        let length = self.below(12);
        (0..length).map(|_| self.character()).collect()
    }

    fn character(&mut self) -> char {
        const PLAIN: &[u8] = b"abcxyz0189-._/";
        const ODD: [char; 12] = [
            'A',
            'Z',
            '"',
            '\\',
            '\n',
            '\0',
            ' ',
            'é',
            '\u{2028}',
            '\u{1f600}',
            '{',
            ',',
        ];
        let byte = self.byte();
        if byte < 0xe0 {
            char::from(PLAIN[usize::from(byte) % PLAIN.len()])
        } else {
            ODD[usize::from(byte) % ODD.len()]
        }
    }
}
