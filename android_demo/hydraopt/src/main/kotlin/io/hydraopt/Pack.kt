package io.hydraopt

import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import java.security.MessageDigest

/**
 * A pack as a view of a mapped file: 64 bytes of header, of which magic and payload bytes matter
 * here, then the payload. Pages are read when they are touched.
 *
 * The file is mapped once: a later rename to its name has no effect.
 */
internal class Pack(directory: File, private val record: PackRecord, checked: CheckedFiles?) {
    private val file = File(directory, record.file)
    private val bytes = map()

    /** The payload as a direct buffer in native order. */
    val payload: ByteBuffer

    init {
        checked?.unlessKnown(file, "$record", ::check)
        val header = PackHeader.of(bytes) ?: throw BundleException(
            "$file is not a pack: it does not start with HYDRAPK1; copy it again"
        )
        payload = view(bytes, PackHeader.BYTES, bytes.capacity() - PackHeader.BYTES)
        if (header.payloadBytes != payload.capacity().toLong()) {
            throw BundleException(
                "pack $file has ${grouped(payload.capacity().toLong())} bytes after its header, " +
                    "expected ${grouped(header.payloadBytes)}; copy it again"
            )
        }
    }

    /** Checks the current content against the manifest. Throws [BundleException]. */
    fun check() {
        // Touching a page that is gone would end the process; those of a file that an update
        // replaced and removed stay.
        if (file.exists()) checkLength(file.length())
        val digest = MessageDigest.getInstance("SHA-256")
        digest.update(bytes.duplicate())
        if (digest.digest().hex() != record.sha256) {
            throw BundleException(
                "$file is damaged or from another bundle: its SHA-256 differs; export or copy " +
                    "it again"
            )
        }
    }

    private fun checkLength(found: Long) {
        val expected = record.offset + record.length
        if (found < expected) {
            throw BundleException(
                "$file is damaged: it ends after ${grouped(found)} bytes, expected " +
                    "${grouped(expected)}; export or copy it again"
            )
        }
        if (record.length > Int.MAX_VALUE) {
            throw BundleException(
                "$file has a pack of ${grouped(record.length)} bytes, expected less than 2^31; " +
                    "export again with a smaller budget"
            )
        }
    }

    private fun map(): ByteBuffer =
        try {
            RandomAccessFile(file, "r").use {
                checkLength(it.length())
                it.channel.map(FileChannel.MapMode.READ_ONLY, record.offset, record.length)
            }
        } catch (error: IOException) {
            val reason = error.message
            throw BundleException(
                "pack $file cannot be read ($reason); export or copy it again",
                error
            )
        }

    private companion object {
        /** [size] bytes from [start] as a buffer in native order. */
        fun view(bytes: ByteBuffer, start: Int, size: Int): ByteBuffer {
            val all = bytes.duplicate()
            within(all, start, start + size)
            return all.slice().order(ByteOrder.nativeOrder())
        }

        // Methods of Buffer: those of ByteBuffer return another type than before Android 9.
        fun within(buffer: Buffer, start: Int, end: Int) {
            buffer.limit(end)
            buffer.position(start)
        }
    }
}
