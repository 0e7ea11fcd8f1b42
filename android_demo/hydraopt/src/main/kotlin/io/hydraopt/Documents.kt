package io.hydraopt

import java.io.File
import java.security.MessageDigest

/** JSON files with a version and a digest: the file's SHA-256 with zeros for its own digits. */
internal object Documents {
    private const val DIGITS = 64
    private val DIGEST = Regex("\"digest\": \"([0-9a-f]{$DIGITS})\"")

    /**
     * Reads the document in [path] from its [content].
     *
     * @throws FormatException if it is no JSON object.
     * @throws BundleException if it is of another version, or its digest differs.
     */
    fun read(path: File, content: ByteArray, version: Long, writer: String): Fields {
        val fields = Fields("it", Json.parse(content))
        val found = fields.any("format_version")
        if (found != version) {
            val newer = found is Number && found.toDouble() > version
            throw BundleException(
                "$path has format version $found, expected $version; " +
                    if (newer) "update hydraopt" else "write it again with $writer"
            )
        }
        if (!isSealed(content)) {
            throw BundleException(
                "$path is damaged or was changed: its digest differs; write it again with $writer"
            )
        }
        fields.any("digest")
        return fields
    }

    /** A document of [fields], which have a version and a digest, with the digest that fits. */
    fun sealed(fields: Map<String, Any?>): ByteArray {
        val zeros = "0".repeat(DIGITS)
        val blank = JsonOutput().document(fields + ("digest" to zeros))
        return String(blank).replaceFirst(zeros, sha256(blank)).toByteArray()
    }

    private fun isSealed(content: ByteArray): Boolean {
        val digits =
            DIGEST.find(String(content, Charsets.ISO_8859_1))?.groups?.get(1) ?: return false
        val blank = content.copyOf()
        blank.fill('0'.code.toByte(), digits.range.first, digits.range.last + 1)
        return sha256(blank) == digits.value
    }
}

internal fun sha256(content: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(content).hex()
