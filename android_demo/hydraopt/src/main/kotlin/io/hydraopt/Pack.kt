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
 * A pack as a view of a mapped file: 64 bytes of header (magic, payload bytes, binding to the
 * layout, SHA-256 of the payload), then the payload.
 *
 * The file is mapped once: a copy that is written next to it and renamed to its name changes
 * nothing for the one who holds this pack. Pages are read when they are touched.
 */
internal class Pack private constructor(
    private val file: File,
    private val fileBytes: Long,
    private val bytes: ByteBuffer,
) {
    /** The payload: direct, native order, of its own size. */
    val payload: ByteBuffer = view(bytes, HEADER, bytes.capacity() - HEADER)

    /**
     * Compares header and payload with what is expected.
     *
     * @param binding of the bundle that reads it; null for the shared pack, which the others bind to.
     * @throws BundleException a pack that was cut, damaged or belongs to another layout.
     */
    fun check(binding: ByteArray?) {
        if (file.length() != fileBytes) {  // touching a page that is gone would end the process
            throw BundleException(
                "pack $file has ${file.length()} bytes, expected $fileBytes as when the bundle was " +
                    "opened; copy it again and open the bundle again",
            )
        }
        val header = view(bytes, 0, HEADER).order(ByteOrder.LITTLE_ENDIAN)
        val bound = header.copy(16, 16)
        if (!header.copy(0, MAGIC.size).contentEquals(MAGIC)) {
            throw BundleException("$file is no pack: it does not start with HYDRAPK1; copy it again")
        }
        if (binding != null && !bound.contentEquals(binding)) {
            throw BundleException(
                "pack $file belongs to another layout: it is bound to ${bound.hex().take(12)}…, " +
                    "expected ${binding.hex().take(12)}…; copy the right pack",
            )
        }
        if (header.getLong(8) != payload.capacity().toLong()) {
            throw BundleException(
                "pack $file has ${payload.capacity()} bytes after its header, which says " +
                    "${header.getLong(8)}; copy it again",
            )
        }
        if (!payload.sha256().contentEquals(header.copy(32, 32))) {
            throw BundleException("pack $file is damaged: its SHA-256 differs; copy it again")
        }
    }

    companion object {
        private const val HEADER = 64
        private val MAGIC = "HYDRAPK1".toByteArray()

        /** Maps a pack of a bundle's [directory]. Throws [BundleException]. */
        fun map(directory: File, record: PackRecord): Pack {
            val file = File(directory, record.file)
            try {
                RandomAccessFile(file, "r").use {
                    if (record.length < HEADER || record.offset + record.length > it.length()) {
                        throw BundleException(
                            "$file is no pack: ${it.length()} bytes, expected ${record.length} from " +
                                "${record.offset}; copy it again",
                        )
                    }
                    val mode = FileChannel.MapMode.READ_ONLY
                    val bytes = it.channel.map(mode, record.offset, record.length)
                    return Pack(file, it.length(), bytes)
                }
            } catch (error: IOException) {
                val reason = error.message ?: "$error"
                throw BundleException("pack $file cannot be read ($reason); copy it again", error)
            }
        }
    }
}

/** [size] bytes from [start] as a buffer of their own, in native order. */
private fun view(bytes: ByteBuffer, start: Int, size: Int): ByteBuffer {
    val all = bytes.duplicate()
    all.within(start, start + size)
    return all.slice().order(ByteOrder.nativeOrder())
}

// As a Buffer's methods: those of ByteBuffer return other types since Java 9, which old Androids lack.
private fun Buffer.within(start: Int, end: Int) {
    limit(end)
    position(start)
}

private fun ByteBuffer.copy(start: Int, size: Int): ByteArray =
    ByteArray(size) { get(start + it) }

private fun ByteBuffer.sha256(): ByteArray =
    MessageDigest.getInstance("SHA-256").also { it.update(duplicate()) }.digest()

internal fun ByteArray.hex(): String = joinToString("") { "%02x".format(it) }
