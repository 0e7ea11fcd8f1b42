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
 * The file is mapped once: what is renamed to its name later changes nothing for the holder.
 */
internal class Pack(directory: File, private val record: PackRecord, hash: Boolean) {
    private val file = File(directory, record.file)
    private val bytes = map()

    /** The payload: direct, native order, of its own size. */
    val payload: ByteBuffer = view(bytes, HEADER, bytes.capacity() - HEADER)

    init {
        val header = view(bytes, 0, HEADER).order(ByteOrder.LITTLE_ENDIAN)
        if (hash) check()
        if (MAGIC.indices.any { header.get(it) != MAGIC[it] }) {
            throw BundleException("$what is no pack: it does not start with HYDRAPK1; copy it again")
        }
        if (header.getLong(MAGIC.size) != payload.capacity().toLong()) {
            throw BundleException(
                "$what has ${payload.capacity()} bytes after its header, expected " +
                    "${header.getLong(MAGIC.size)}; copy it again",
            )
        }
    }

    private val what: String
        get() = if (record.offset == 0L) "pack $file" else "the pack at ${record.offset} of $file"

    /** Compares what is there now with the manifest. Throws [BundleException]. */
    fun check() {
        val expected = FileRecord(record.length, record.sha256)
        val left = file.length() - record.offset
        // touching a page that is gone would end the process
        if (left < record.length) throw BundleException(damaged(what, maxOf(left, 0), null, expected))
        val digest = MessageDigest.getInstance("SHA-256")
        digest.update(bytes.duplicate())
        val found = digest.digest().hex()
        if (found != record.sha256) {
            throw BundleException(damaged(what, record.length, found, expected))
        }
    }

    private fun map(): ByteBuffer {
        if (!file.isFile) throw BundleException("$file is missing; export or copy the bundle again")
        try {
            RandomAccessFile(file, "r").use {
                val left = it.length() - record.offset
                if (left < record.length || record.length < HEADER) {
                    val expected = FileRecord(record.length, record.sha256)
                    throw BundleException(damaged(what, maxOf(left, 0), null, expected))
                }
                return it.channel.map(FileChannel.MapMode.READ_ONLY, record.offset, record.length)
            }
        } catch (error: IOException) {
            throw BundleException("$what cannot be read (${error.message}); copy it again", error)
        }
    }

    private companion object {
        const val HEADER = 64
        val MAGIC = "HYDRAPK1".toByteArray()

        /** [size] bytes from [start] as a buffer of their own, in native order. */
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
