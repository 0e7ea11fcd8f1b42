package io.hydraopt

import java.io.File
import java.io.IOException
import java.util.zip.ZipEntry
import java.util.zip.ZipFile

/** What `update.json` says of an update's task; `docs/formats.md` explains the fields. */
internal class Update(
    val program: String,
    val binding: String,
    val task: String,
    val version: Int,
    val adapterBytes: Long,
    val classes: Long?,
    val pack: FileRecord
)

/** The entries of an update's zip file, which are stored, never compressed; not checked yet. */
internal class UpdateFile private constructor(val path: File, entries: Map<String, ByteArray>) {
    private val document = entries.getValue(DOCUMENT)
    private val signature = entries[SIGNATURE]
    val pack = entries.getValue(PACK)

    /** Throws [BundleException] unless the owner of [key] signed the update. */
    fun checkSignature(key: Ed25519) {
        if (signature == null) {
            throw BundleException("$path is not signed, expected a signature; $DEVELOPER")
        }
        if (!key.verify(document, signature)) {
            throw BundleException(
                "$path is signed by another key, or was changed afterwards; $DEVELOPER"
            )
        }
    }

    /** What `update.json` says, once it and the pack are checked. Throws [BundleException]. */
    fun update(): Update {
        val where = File(path, DOCUMENT)
        val update = try {
            update(Documents.read(where, document, VERSION, WRITER))
        } catch (error: FormatException) {
            val reason = oneLine("${error.message}")
            throw BundleException("$where is damaged ($reason); write it again with $WRITER", error)
        }
        if (FileRecord(pack.size.toLong(), sha256(pack)) != update.pack) {
            throw BundleException(
                "${File(path, PACK)} is damaged: its SHA-256 or size differs; $AGAIN"
            )
        }
        return update
    }

    private fun update(fields: Fields): Update {
        val pack = fields.fields("pack")
        val update = Update(
            program = matching(fields, "program", SHA256),
            binding = matching(fields, "binding", BINDING),
            task = ManifestFormat.task(fields.string("task")),
            version = positive(fields, "version").toInt(),
            adapterBytes = positive(fields, "adapter_bytes"),
            classes = fields.any("classes")?.let { positive(fields, "classes") },
            pack = FileRecord(positive(pack, "bytes"), matching(pack, "sha256", SHA256))
        )
        pack.end()
        fields.end()
        return update
    }

    private fun positive(fields: Fields, name: String): Long =
        fields.long(name).takeIf { it in 1..Int.MAX_VALUE }
            ?: throw FormatException("$name is not a number from 1 to 2^31 - 1")

    private fun matching(fields: Fields, name: String, pattern: Regex): String =
        fields.string(name).takeIf(pattern::matches)
            ?: throw FormatException("$name has a wrong value")

    /** Throws [BundleException] unless the pack is one of the layout's, which has their [bytes]. */
    fun checkPack(binding: String, bytes: Long) {
        val where = File(path, PACK)
        val header = PackHeader.of(pack) ?: throw BundleException(
            "$where is not a pack: it does not start with HYDRAPK1; $AGAIN"
        )
        val found = pack.size.toLong() - PackHeader.BYTES
        val expected = bytes - PackHeader.BYTES
        if (found != expected || header.payloadBytes != expected) {
            throw BundleException(
                "pack $where has ${grouped(found)} bytes after its header, expected " +
                    "${grouped(expected)}; $AGAIN"
            )
        }
        if (header.binding != binding) {
            throw BundleException(
                "pack $where belongs to another layout: it is bound to " +
                    "${header.binding.take(12)}…, expected ${binding.take(12)}…; get the right " +
                    "update"
            )
        }
    }

    companion object {
        const val AGAIN = "download it again"
        private const val DOCUMENT = "update.json"
        private const val PACK = "task.pack"
        private const val SIGNATURE = "update.sig"
        private const val WRITER = "`hydraopt add`"
        private const val DEVELOPER = "get it from the bundle's developer"
        private const val VERSION = 1L
        private const val MARGIN = 1L shl 20 // most bytes beside the pack
        private val SHA256 = Regex("[0-9a-f]{64}")
        private val BINDING = Regex("[0-9a-f]{32}")

        /** Reads [path]; every pack of the bundle has [packBytes]. Throws [BundleException]. */
        fun read(path: File, packBytes: Long): UpdateFile {
            val largest = packBytes + MARGIN
            val reason = when {
                !path.exists() -> "No such file or directory"
                !path.isFile -> "not a regular file"
                path.length() > largest ->
                    "${grouped(path.length())} bytes, expected at most ${grouped(largest)}"
                else -> null
            }
            if (reason != null) {
                throw BundleException(
                    "$path is no update of this bundle ($reason); $AGAIN, or get the right one"
                )
            }
            try {
                return UpdateFile(path, ZipFile(path).use { entries(it, path.length()) })
            } catch (error: IOException) {
                damaged(path, error)
            } catch (error: IllegalArgumentException) { // names that are no UTF-8
                damaged(path, error)
            }
        }

        private fun damaged(path: File, error: Exception): Nothing {
            val reason = oneLine("${error.message}")
            throw BundleException("$path is damaged or half downloaded ($reason); $AGAIN", error)
        }

        private fun entries(zip: ZipFile, length: Long): Map<String, ByteArray> {
            val found = zip.entries().toList()
            val names = found.map { it.name }.sorted()
            if (names != listOf(PACK, DOCUMENT) && names != listOf(PACK, DOCUMENT, SIGNATURE)) {
                val listed = names.joinToString().ifEmpty { "nothing" }
                throw IOException(
                    "expected $DOCUMENT, $PACK and perhaps $SIGNATURE, found $listed"
                )
            }
            for (entry in found) {
                val largest = if (entry.name == PACK) length else MARGIN
                val stored = entry.method == ZipEntry.STORED && entry.size == entry.compressedSize
                if (!stored || entry.size !in 0..largest) {
                    throw IOException("${entry.name} is compressed or has a wrong size")
                }
            }
            return found.associate { it.name to zip.getInputStream(it).use { it.readBytes() } }
        }
    }
}
