//! Framing: OVSDB's JSON-RPC puts one JSON object after the other, with nothing in between.

/// Cuts a stream of bytes into JSON objects by counting brackets outside of strings.
#[derive(Debug, Default)]
pub(super) struct Framer {
    bytes: Vec<u8>,
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Framer {
    /// The buffer to read more bytes into (append only).
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The next whole object.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        while self.scanned < self.bytes.len() {
            let byte = self.bytes[self.scanned];
            self.scanned += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        let rest = self.bytes.split_off(self.scanned);
                        self.scanned = 0;
                        return Some(std::mem::replace(&mut self.bytes, rest));
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_wherever_the_bytes_are_torn() {
        let stream = br#"{"a":"}\"{"}{"b":[1,{"c":2}]}"#;
        for at in 0..stream.len() {
            let mut framer = Framer::default();
            let mut frames = Vec::new();
            for part in [&stream[..at], &stream[at..]] {
                framer.buffer().extend_from_slice(part);
                while let Some(frame) = framer.next() {
                    frames.push(String::from_utf8(frame).unwrap());
                }
            }
            assert_eq!(frames, [r#"{"a":"}\"{"}"#, r#"{"b":[1,{"c":2}]}"#], "torn at {at}");
        }
    }
}
