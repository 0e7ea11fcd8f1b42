package io.hydraopt.tokenizer

import io.hydraopt.Fields
import io.hydraopt.FormatException
import io.hydraopt.JsonInput
import java.io.InputStream

/** `tokenizer.json`, as the `tokenizers` package writes it. */
internal object TokenizerFormat {
    /** Reads a whole file; throws [FormatException] for a part that is not understood. */
    fun read(input: InputStream): Pipeline.Parts {
        val json = JsonInput(input)
        val others = LinkedHashMap<String, Any?>()
        var model: ModelReader? = null
        json.members { if (it == "model") model = ModelReader(json) else others[it] = json.value() }
        json.finish()
        return parts(model ?: throw FormatException("it has no model"), Fields("it", others))
    }

    private fun parts(model: ModelReader, fields: Fields): Pipeline.Parts {
        for (cut in listOf("truncation", "padding")) {
            if (fields.optional(cut) != null) refuse(cut, "its own rule", "none")
        }
        val normalizers = steps(fields, "normalizer", "normalizers")
            .flatMap(NormalizerFormat::normalizers)
        val splitters = steps(fields, "pre_tokenizer", "pretokenizers")
        val added = fields.list("added_tokens").map { Fields("an added token", it) }
        val (normalized, raw) = added.partition { it.boolean("normalized") }
        val template = Template.read(steps(fields, "post_processor", "processors"))
        return Pipeline.Parts(
            vocabulary = model.vocabulary,
            added = added.associate { it.int("id") to it.string("content") },
            special = added.filter { it.boolean("special") }.map { it.int("id") }.toSet(),
            raw = AddedTokens(raw.map { added(it, listOf()) }),
            normalized = AddedTokens(normalized.map { added(it, normalizers) }),
            normalizers = normalizers,
            splitters = splitters.map(SplitterFormat::splitter),
            words = ModelFormat.words(model, SplitterFormat.inBytes(splitters)),
            before = template.before,
            after = template.after,
            decoder = DecoderFormat.decoder(steps(fields, "decoder", "decoders"))
        )
    }

    private fun added(token: Fields, normalizers: List<Normalizing>): AddedToken {
        val content = token.string("content").ifEmpty { refuse("a token", "empty", "a text") }
        return AddedToken(
            normalizers.fold(content) { text, step -> step.normalize(text) },
            token.int("id"),
            alone = token.boolean("single_word"),
            takesBefore = token.boolean("lstrip"),
            takesAfter = token.boolean("rstrip")
        )
    }

    /** The parts of a `Sequence`, or the single part, or none. */
    private fun steps(fields: Fields, name: String, inner: String): List<Fields> {
        val step = fields.fieldsOrNull(name) ?: return listOf()
        if (step.string("type") != "Sequence") return listOf(step)
        return step.list(inner).map { Fields("a part of $name", it) }
    }
}

/** Ids before and after every text. */
internal class Template private constructor(val before: IntArray, val after: IntArray) {
    companion object {
        /** Of a post-processor's steps. */
        fun read(steps: List<Fields>): Template {
            val adding = steps.filter { it.string("type") != "ByteLevel" }
            if (adding.size > 1) {
                refuse("the post-processor", "${adding.size} that add tokens", "one")
            }
            val step = adding.firstOrNull() ?: return Template(intArrayOf(), intArrayOf())
            return when (val type = step.string("type")) {
                "TemplateProcessing" -> single(step)
                "RobertaProcessing", "BertProcessing" ->
                    Template(second(step, "cls"), second(step, "sep"))
                else -> refuse("the post-processor", type, "TemplateProcessing")
            }
        }

        private fun second(step: Fields, name: String): IntArray {
            val id =
                step.list(name).getOrNull(1) as? Long ?: throw FormatException("$name has no id")
            return intArrayOf(id.toInt())
        }

        private fun single(step: Fields): Template {
            val known = step.fields("special_tokens")
            val items = step.list("single").map { Fields("an item of the template", it) }
            val texts = items.count { "Sequence" in it.names }
            if (texts != 1) refuse("the template", "of $texts texts", "of one")
            val place = items.indexOfFirst { "Sequence" in it.names }
            return Template(ids(items.take(place), known), ids(items.drop(place + 1), known))
        }

        private fun ids(items: List<Fields>, known: Fields): IntArray = items.flatMap {
            known.fields(it.fields("SpecialToken").string("id")).ints("ids")
        }.toIntArray()
    }
}

/** Throws [FormatException] for a part that is not understood. */
internal fun refuse(what: String, found: String, expected: String): Nothing =
    throw FormatException("$what is $found, expected $expected")
