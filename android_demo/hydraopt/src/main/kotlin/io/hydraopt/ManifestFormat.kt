package io.hydraopt

import java.io.File

/** Names and numbers of `manifest.json` and of the files of a bundle, all of them. */
internal object ManifestFormat {
    const val VERSION = 4L
    const val MANIFEST = "manifest.json"
    const val PROGRAM = "model.pte"
    const val TOKENIZER = "tokenizer.json"
    const val SHARED = "shared.pack"
    const val FORWARD = "forward"
    const val DECODE = "decode"

    /**
     * Reads the manifest in [path] from its [content].
     *
     * @throws FormatException if it is damaged, or parts do not fit together.
     * @throws BundleException if it is of another version.
     */
    fun read(path: File, content: ByteArray): Manifest {
        val fields = Fields("it", Json.parse(String(content)))
        val version = fields.any("format_version")
        if (version != VERSION) {
            throw BundleException(
                "$path has format version $version, expected $VERSION; update hydraopt",
            )
        }
        return manifest(fields)
    }

    private fun manifest(fields: Fields): Manifest {
        for (name in IGNORED) fields.any(name)
        val files = fields.map("files") { file(fields(it)) }
        val targets = fields.map("tasks") { string(it) }
        val swap = choice("swap", Swap.values().associateBy { it.id }, fields.string("swap"))
        val packed = swap == Swap.INPUTS || swap == Swap.DATA
        val packs = if (packed) targets.mapValues { pack(it.value, files) } else mapOf()
        val manifest = Manifest(
            baseModel = fields.string("base_model"),
            kind = choice("kind", Kind.values().associateBy { it.id }, fields.string("kind")),
            executorch = fields.string("executorch"),
            method = fields.string("method"),
            adapterBytes = fields.long("adapter_bytes"),
            quantize = fields.string("quantize"),
            swap = swap,
            staticRows = fields.boolean("static_rows"),
            maxLength = fields.intOrNull("max_length"),
            prefillLength = fields.intOrNull("prefill_length"),
            vocabulary = fields.intOrNull("vocabulary"),
            eosIds = fields.ints("eos_ids").toSet(),
            chat = fields.fieldsOrNull("chat")?.let(::chat),
            factors = fields.fields("factors").names.toList(),
            packs = packs,
            methods = if (packed) mapOf() else targets,
            classes = fields.map("classes") { int(it) },
            files = files - packs.values.map { it.file }.toSet(),
        )
        fields.end()
        check(manifest)
        return manifest
    }

    /** Members that a phone has no use for. */
    private val IGNORED = listOf(
        "base_config_sha256", "embedding", "attention", "constant_bytes", "image",
    )

    private fun file(fields: Fields): FileRecord {
        val record = FileRecord(fields.long("bytes"), fields.string("sha256"))
        fields.end()
        return record
    }

    private fun chat(fields: Fields): Chat {
        val chat = Chat(fields.string("prefix"), fields.string("suffix"), fields.boolean("strip"))
        fields.end()
        return chat
    }

    private fun pack(name: String, files: Map<String, FileRecord>): PackRecord {
        val record = files[name] ?: throw FormatException("its tasks do not fit")
        return PackRecord(name, 0, record.bytes, record.sha256)
    }

    private fun <T> choice(what: String, choices: Map<String, T>, found: String): T =
        choices[found] ?: throw FormatException("its $what do not fit")

    private fun check(manifest: Manifest) {
        val needed = if (manifest.swap == Swap.INPUTS) setOf(PROGRAM, SHARED) else setOf(PROGRAM)
        val paths = manifest.files.keys + manifest.packs.values.map { it.file }
        val numbers = when (manifest.kind) {
            Kind.CAUSAL_LM ->
                listOf(manifest.maxLength, manifest.prefillLength, manifest.vocabulary)
            Kind.ENCODER -> listOf(manifest.maxLength, manifest.vocabulary)
            Kind.IMAGE -> listOf()
        } + manifest.classes.values
        val holds = mapOf(
            "files" to (manifest.files.keys.containsAll(needed) && paths.none(::isOutside)),
            "tasks" to manifest.tasks.isNotEmpty(),
            "classes" to
                (manifest.classes.isEmpty() || manifest.classes.keys == manifest.tasks.toSet()),
            "numbers" to (manifest.adapterBytes > 0 && numbers.all { it != null && it > 0 }),
        )
        for ((what, fits) in holds) if (!fits) throw FormatException("its $what do not fit")
        if (manifest.kind == Kind.CAUSAL_LM && manifest.prefillLength!! >= manifest.maxLength!!) {
            throw FormatException("its numbers do not fit")
        }
    }

    private fun isOutside(name: String) = name.startsWith("/") || ".." in name.split('/')
}
