package io.hydraopt

/**
 * Whole JSON documents. The platform's `org.json` accepts invalid JSON, and differs outside
 * Android.
 *
 * Objects become maps in the file's order, arrays lists, whole numbers `Long`, others `Double`.
 */
internal object Json {
    /** Parses a whole document. Throws [FormatException]. */
    fun parse(text: String): Any? = parse(text.toByteArray())

    /** Parses a whole document in UTF-8. Throws [FormatException]. */
    fun parse(content: ByteArray): Any? {
        val reader = JsonInput(content)
        return reader.value().also { reader.finish() }
    }
}
