//! The checksums of the formats, by their names in the catalogue of parametrised CRC algorithms.

use crc::{Algorithm, Crc, Table};

/// PNG annex D, RFC 1952 section 8, ZIP APPNOTE 4.4.7, Matroska's CRC-32 (RFC 8794, 11.3.1).
pub(crate) static CRC_32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_ISO_HDLC);
/// ISO/IEC 13818-1 annex A, for sections of MPEG-TS.
pub(crate) static CRC_32_MPEG: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&crc::CRC_32_MPEG_2);
/// RFC 9639 section 9.1.8: frame headers of FLAC.
pub(crate) static CRC_8_FLAC: Crc<u8, Table<1>> = Crc::<u8, Table<1>>::new(&crc::CRC_8_SMBUS);
/// RFC 9639 section 9.3: frames of FLAC.
pub(crate) static CRC_16_FLAC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_UMTS);
/// The tag that LAME and FFmpeg write into the first frame of an MP3.
pub(crate) static CRC_16_LAME: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_ARC);
/// RFC 3533 section 6, field 7: the polynomial of CRC-32, from the top bit, all from zero.
pub(crate) static CRC_32_OGG: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&Algorithm {
    width: 32,
    poly: 0x04C1_1DB7,
    init: 0,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0x89A1_897F,
    residue: 0,
});

#[cfg(test)]
mod tests {
    #[test]
    fn ogg_has_the_check_value_of_the_catalogue() {
        assert_eq!(super::CRC_32_OGG.checksum(b"123456789"), 0x89A1_897F);
    }
}
