package io.hydraopt

import java.math.BigInteger
import java.security.MessageDigest
import java.util.Base64

/**
 * A developer's public key, Ed25519 (RFC 8032): [TaskBundle.install] refuses what it did not sign.
 *
 * @param pem the key as `openssl pkey -in KEY -pubout` prints it.
 * @throws UsageException if it is none.
 */
class Ed25519(pem: String) {
    private val encoded = encoded(pem) ?: none()
    private val minus = -(EdwardsPoint.decoded(encoded) ?: none())

    /** Whether [signature], 64 bytes, is one of [message] by the key's owner. */
    fun verify(message: ByteArray, signature: ByteArray): Boolean {
        if (signature.size != 2 * EdwardsPoint.BYTES) return false
        val r = signature.copyOf(EdwardsPoint.BYTES)
        val s = littleEndian(signature.copyOfRange(EdwardsPoint.BYTES, signature.size))
        if (s >= EdwardsPoint.ORDER) return false
        val digest = MessageDigest.getInstance("SHA-512").digest(r + encoded + message)
        val hash = littleEndian(digest).mod(EdwardsPoint.ORDER)
        return EdwardsPoint.sum(s, EdwardsPoint.BASE, hash, minus).encoded().contentEquals(r)
    }

    private companion object {
        val PEM = Regex("-----BEGIN PUBLIC KEY-----([^-]*)-----END PUBLIC KEY-----")

        /** DER of a SubjectPublicKeyInfo up to the key: the algorithm's identifier, 1.3.101.112. */
        val START = BigInteger("302a300506032b6570032100", 16).toByteArray()

        fun encoded(pem: String): ByteArray? {
            val text = PEM.find(pem)?.groupValues?.get(1) ?: return null
            val content = try {
                Base64.getMimeDecoder().decode(text)
            } catch (_: IllegalArgumentException) {
                return null
            }
            if (content.size != START.size + EdwardsPoint.BYTES) return null
            if (!content.copyOf(START.size).contentEquals(START)) return null
            return content.copyOfRange(START.size, content.size)
        }

        fun none(): Nothing = throw UsageException(
            "the public key is none of Ed25519 in PEM; make it with `openssl pkey -in KEY -pubout`"
        )
    }
}
