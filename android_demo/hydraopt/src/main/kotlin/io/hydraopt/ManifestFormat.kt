package io.hydraopt

import java.io.File

/** All that is known here of `manifest.json`, format version 8, and of a bundle's file names. */
internal object ManifestFormat {
    const val MANIFEST = "manifest.json"
    const val PROGRAM = "model.pte"
    const val TOKENIZER = "tokenizer.json"
    const val SHARED = "shared.pack"
    const val FORWARD = "forward"
    const val UNPACK = "unpack"
    const val WRITER = "`hydraopt export`"
    const val LARGEST = 64L shl 20

    private const val VERSION = 8L
    private const val LONGEST_PATH = 300
    private const val LONGEST_TASK = 100
    private const val LARGEST_EDGE = 4096
    private val RESAMPLES = setOf("bilinear", "bicubic")
    private val SHA256 = Regex("[0-9a-f]{64}")
    private val ROLES = setOf<Any?>("system", "assistant")

    /** What a phone has no use for: it must be there all the same. */
    private val UNUSED = listOf("base_config_sha256", "deviation")

    /** The same, where a manifest may leave it out. */
    private val UNUSED_OR_MISSING = 
        listOf("base_weights", "layers", "backend", "overrides", "calibration")

    /**
     * Reads the manifest in [path] from its [content].
     *
     * @throws FormatException if it is damaged or inconsistent.
     * @throws BundleException if it is of another version, or its digest differs.
     */
    fun read(path: File, content: ByteArray): Manifest {
        val fields = Documents.read(path, content, VERSION, WRITER)
        return manifest(fields).also(::checkFits)
    }

    private fun manifest(fields: Fields): Manifest {
        for (name in UNUSED) fields.any(name)
        for (name in UNUSED_OR_MISSING) fields.optional(name)
        val manifest = Manifest(
            baseModel = fields.string("base_model"),
            executorch = fields.string("executorch"),
            method = fields.string("method"),
            adapterBytes = fields.positive("adapter_bytes"),
            quantize = fields.string("quantize"),
            model = model(fields.fields("model")),
            swap = swap(fields.fields("swap")),
            classes = fields.map("classes") { positiveInt(it) },
            files = fields.map("files") { file(fields(inside(it))) },
            versions = versions(fields)
        )
        fields.end()
        return manifest
    }

    private fun versions(fields: Fields): Map<String, Int> {
        if (fields.fieldsOrNull("versions") == null) return mapOf()
        return fields.map("versions") { positiveInt(task(it)) }
    }

    private fun model(fields: Fields): Model {
        val model = when (fields.string("kind")) {
            Model.CausalLm.KIND -> causalLm(fields)
            Model.Encoder.KIND -> encoder(fields)
            Model.Image.KIND -> image(fields)
            else -> none("kind")
        }
        fields.end()
        return model
    }

    private fun causalLm(fields: Fields): Model {
        fields.string("embedding")
        fields.string("attention")
        return Model.CausalLm(
            vocabulary = fields.positiveInt("vocabulary"),
            maxLength = fields.positiveInt("max_length"),
            prefillLength = fields.positiveInt("prefill_length"),
            eosIds = fields.ints("eos_ids").toSet(),
            chat = fields.fieldsOrNull("chat")?.let(::chat)
        )
    }

    private fun encoder(fields: Fields): Model {
        fields.string("embedding")
        fields.boolean("per_token")
        val pooling = fields.fieldsOrNull("pooling")
        return Model.Encoder(
            fields.positiveInt("vocabulary"),
            fields.positiveInt("max_length"),
            pooling?.string("prompt").orEmpty()
        )
    }

    private fun image(fields: Fields): Model {
        val shape = fields.ints("shape").takeIf { it.size == 3 && it.all { size -> size > 0 } }
        return Model.Image(
            shape ?: none("shape"),
            fields.any("preprocessing")?.let { preprocessing(fields.fields("preprocessing")) }
        )
    }

    private fun preprocessing(fields: Fields): Preprocessing {
        val found = Preprocessing(
            fields.string("resample").takeIf { it in RESAMPLES } ?: none("resample"),
            fields.number("factor"),
            channels(fields, "mean"),
            channels(fields, "std"),
            fields.intOrNull("shortest_edge")
        )
        fields.end()
        return found
    }

    private fun channels(fields: Fields, name: String): List<Float> =
        fields.list(name).map { (it as? Number)?.toFloat() ?: none(name) }
            .takeIf { it.size == 3 } ?: none(name)

    private fun swap(fields: Fields): Swap {
        val swap = when (fields.string("mode")) {
            "inputs" -> Swap.Inputs(
                packs = packs(fields),
                factors = fields.fields("factors").names.toList(),
                staticRows = fields.boolean("static_rows")
            ).also { unused(fields) }
            "methods" -> Swap.Methods(fields.map("methods") { string(task(it)) })
                .also { fields.natural("constant_bytes") }
            "data" -> Swap.Data(packs(fields))
            "static" -> Swap.Static(fields.list("tasks").map { task(it as? String ?: "") })
                .also { fields.natural("constant_bytes") }
            else -> none("mode")
        }
        fields.end()
        return swap
    }

    /** What other tools read of packs that are swapped. */
    private fun unused(fields: Fields) {
        fields.string("binding")
        fields.natural("constant_bytes")
        fields.map("growth") { file(fields(inside(it))) }
    }

    private fun packs(fields: Fields) = fields.map("packs") { pack(fields(task(it))) }

    private fun pack(fields: Fields): PackRecord {
        val file = inside(fields.string("file"))
        val offset = fields.natural("offset")
        val record = PackRecord(file, offset, fields.positive("length"), sha256(fields))
        fields.end()
        return record
    }

    private fun file(fields: Fields): FileRecord {
        val record = FileRecord(fields.natural("bytes"), sha256(fields))
        fields.end()
        return record
    }

    private fun sha256(fields: Fields): String =
        fields.string("sha256").takeIf(SHA256::matches) ?: none("sha256")

    private fun chat(fields: Fields): ChatTemplate {
        val chat = ChatTemplate(
            prefix = fields.string("prefix"),
            suffix = fields.string("suffix"),
            strip = fields.boolean("strip"),
            conversation = fields.any("conversation")?.let { conversation(Fields("a chat", it)) }
        )
        fields.map("arguments") { string(it) }  // which the texts hold
        fields.end()
        return chat
    }

    private fun conversation(fields: Fields): Conversation {
        val stripped = fields.list("stripped")
        if (!ROLES.containsAll(stripped)) none("stripped")
        val conversation = Conversation(
            system = twoTexts(fields, "system"),
            answer = fields.string("answer"),
            message = fields.string("message"),
            stripsSystem = "system" in stripped,
            stripsAnswers = "assistant" in stripped,
            thoughts = twoTexts(fields, "thoughts")
        )
        fields.end()
        return conversation
    }

    private fun twoTexts(fields: Fields, name: String): Pair<String, String>? {
        val texts = (fields.any(name) ?: return null) as? List<*> ?: none(name)
        val (first, second) = texts.filterIsInstance<String>().takeIf { it.size == texts.size }
            ?.takeIf { it.size == 2 } ?: none(name)
        return Pair(first, second)
    }

    private fun Fields.positive(name: String): Long = natural(name).takeIf { it > 0 } ?: none(name)

    private fun Fields.positiveInt(name: String): Int =
        int(name).also { if (it <= 0) none(name) }

    /** A path inside the bundle: names without leading dots, separated by slashes. */
    private fun inside(path: String): String {
        val good = path.characters <= LONGEST_PATH && path.split('/').all(::isName)
        return path.takeIf { good }
            ?: throw FormatException("$path is not a path inside the bundle")
    }

    fun task(name: String): String =
        name.takeIf { it.characters <= LONGEST_TASK && isName(it) }
            ?: throw FormatException("$name is not a task's name")

    /** Number of characters, of which some are two of [String]'s. */
    private val String.characters get() = codePointCount(0, length)

    private fun isName(name: String): Boolean {
        var at = 0
        while (at < name.length) {
            val code = name.codePointAt(at)
            if (!isPlain(code) && (at == 0 || code.toChar() !in ".+-")) return false
            at += Character.charCount(code)
        }
        return name.isNotEmpty()
    }

    private fun isPlain(code: Int) =
        Characters.isLetter(code) || Characters.isNumber(code) || code == '_'.code

    private fun checkFits(manifest: Manifest) {
        val swap = manifest.swap
        val shared = if (swap is Swap.Inputs && !swap.staticRows) setOf(SHARED) else setOf()
        val packs = if (swap is Swap.Inputs) swap.packs else mapOf()
        val lengths = packs.values.map { it.length }.distinct()
        val classes = manifest.classes.keys
        val fits = mapOf(
            "tasks" to manifest.tasks.isNotEmpty(),
            "packs" to (lengths.size <= 1),
            "files" to manifest.files.keys.containsAll(shared + PROGRAM),
            "classes" to (classes.isEmpty() || classes == manifest.tasks.toSet()),
            "versions" to (manifest.versions.keys - manifest.tasks).isEmpty(),
            "lengths" to !isTooLong(manifest.model),
            "pictures" to fit(manifest.model)
        )
        for ((what, holds) in fits) if (!holds) throw FormatException("its $what do not fit")
    }

    private fun isTooLong(model: Model): Boolean =
        model is Model.CausalLm && model.prefillLength >= model.maxLength

    /** Whether resized pictures have the input's channels, and reach all of it. */
    private fun fit(model: Model): Boolean {
        val steps = (model as? Model.Image)?.preprocessing ?: return true
        val edges = model.shape.drop(1).max()..LARGEST_EDGE
        return model.shape[0] == 3 && (steps.shortestEdge ?: LARGEST_EDGE) in edges
    }

    private fun none(what: String): Nothing = throw FormatException("$what has a wrong value")
}
