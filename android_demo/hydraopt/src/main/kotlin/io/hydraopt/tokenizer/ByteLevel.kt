package io.hydraopt.tokenizer

/** The printable characters that represent bytes in vocabularies of byte-level BPE. */
internal object ByteLevel {
    private val characters = CharArray(256)
    private val bytes = IntArray(512) { -1 }

    init {
        var next = 256
        for (byte in 0..255) {
            val printable = byte in 0x21..0x7e || byte in 0xa1..0xac || byte in 0xae..0xff
            characters[byte] = if (printable) byte.toChar() else (next++).toChar()
            bytes[characters[byte].code] = byte
        }
    }

    fun character(byte: Int): Char = characters[byte]

    /** Bytes as characters. */
    fun written(text: ByteArray): String =
        String(CharArray(text.size) { characters[text[it].toInt() and 0xff] })

    /** The bytes of a token; its UTF-8 if a character does not represent a byte. */
    fun read(token: String): ByteArray {
        val all = token.all { it.code < bytes.size && bytes[it.code] >= 0 }
        return if (all) {
            ByteArray(token.length) {
                bytes[token[it].code].toByte()
            }
        } else {
            token.toByteArray()
        }
    }
}
