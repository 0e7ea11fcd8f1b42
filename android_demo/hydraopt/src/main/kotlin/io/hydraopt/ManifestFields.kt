package io.hydraopt

import java.io.File

/** The fields of a checked `manifest.json` as they are, to write them again with other tasks. */
internal class ManifestFields private constructor(private val fields: Map<String, Any?>) {
    private val swap = members(fields["swap"])
    private val packs = members(swap["packs"])
    private val classes = members(fields["classes"])
    private val versions = members(fields["versions"] ?: mapOf<String, Any?>())
    private val adapterBytes = fields["adapter_bytes"] as Long

    /** Hex of what binds the bundle's packs to its layout. */
    val binding = swap["binding"] as String

    /** The manifest with the task of an update, new or replaced, whose pack is [file]. */
    fun with(update: Update, file: String): ByteArray {
        val task = update.task
        val pack = mapOf(
            "file" to file,
            "offset" to 0L,
            "length" to update.pack.bytes,
            "sha256" to update.pack.sha256
        )
        return sealed(
            adapterBytes - shareOf(task) + update.adapterBytes,
            packs + (task to pack),
            if (update.classes == null) classes else classes + (task to update.classes),
            if (update.version == 1) versions - task else versions + (task to update.version)
        )
    }

    /** The manifest without a task. */
    fun without(task: String): ByteArray =
        sealed(adapterBytes - shareOf(task), packs - task, classes - task, versions - task)

    private fun shareOf(task: String): Long = if (task in packs) adapterBytes / packs.size else 0

    private fun sealed(
        adapterBytes: Long,
        packs: Map<String, Any?>,
        classes: Map<String, Any?>,
        versions: Map<String, Any?>
    ): ByteArray = Documents.sealed(
        fields + mapOf(
            "adapter_bytes" to adapterBytes,
            "swap" to swap + ("packs" to packs),
            "classes" to classes,
            "versions" to versions
        )
    )

    companion object {
        /** Those of [path], which [ManifestFormat] has read. */
        fun of(path: File) = ManifestFields(members(Json.parse(path.readBytes())))

        @Suppress("UNCHECKED_CAST") // ManifestFormat has checked it
        private fun members(value: Any?) = value as Map<String, Any?>
    }
}
