package io.hydraopt

import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * What the first [BYTES] of a pack say.
 *
 * @property payloadBytes size of the payload that follows.
 * @property binding hex of what binds it to a layout and its shared payload.
 */
internal class PackHeader private constructor(val payloadBytes: Long, val binding: String) {
    companion object {
        const val BYTES = 64
        private val MAGIC = "HYDRAPK1".toByteArray()
        private const val BOUND = 16 // bytes

        /** The header at the start of [content]; null if it does not start with a pack's magic. */
        fun of(content: ByteBuffer): PackHeader? {
            val header = content.duplicate().order(ByteOrder.LITTLE_ENDIAN)
            if (header.remaining() < BYTES) return null
            if (MAGIC.any { header.get() != it }) return null
            val payloadBytes = header.getLong()
            return PackHeader(payloadBytes, ByteArray(BOUND).also { header.get(it) }.hex())
        }

        fun of(content: ByteArray): PackHeader? = of(ByteBuffer.wrap(content))
    }
}
