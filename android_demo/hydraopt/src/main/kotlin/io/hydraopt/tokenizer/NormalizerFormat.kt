package io.hydraopt.tokenizer

import io.hydraopt.Fields
import java.text.Normalizer.Form

/** The normalizer of a `tokenizer.json`. */
internal object NormalizerFormat {
    private const val KNOWN = "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, " +
        "Replace, BertNormalizer or Precompiled"
    private val RUNS = Regex(" {2,}")

    fun normalizers(step: Fields): List<Normalizing> = when (val type = step.string("type")) {
        "NFC", "NFD", "NFKC", "NFKD" -> listOf(NormalForm(Form.valueOf(type)))
        "Lowercase" -> listOf(lowercase)
        "StripAccents" -> listOf(WithoutMarks(all = true))
        "Strip" -> listOf(Stripped(step.boolean("strip_left"), step.boolean("strip_right")))
        "Prepend" -> listOf(prepend(step.string("prepend")))
        "Replace" -> listOf(replace(step))
        "BertNormalizer" -> bert(step)
        "Precompiled" -> listOf(Precompiled(decoded(step.string("precompiled_charsmap"))))
        else -> refuse("the normalizer", type, KNOWN)
    }

    private fun prepend(start: String) = Normalizing { if (it.isEmpty()) it else start + it }

    private fun replace(step: Fields): Normalizing {
        val pattern = step.fields("pattern")
        val content = step.string("content")
        val text = pattern.optional("String") as? String
        if (text != null) return Normalizing { it.replace(text, content) }
        val regex = pattern.optional("Regex")
        if (regex != RUNS.pattern) refuse("Replace", "the pattern $regex", "'${RUNS.pattern}'")
        return Normalizing { RUNS.replace(it, Regex.escapeReplacement(content)) }
    }

    private fun bert(step: Fields): List<Normalizing> {
        val lowers = step.boolean("lowercase")
        val strips = step.any("strip_accents")?.let { step.boolean("strip_accents") } ?: lowers
        return listOfNotNull(
            cleaned.takeIf { step.boolean("clean_text") },
            spacedIdeographs.takeIf { step.boolean("handle_chinese_chars") },
            NormalForm(Form.NFD).takeIf { strips },
            WithoutMarks(all = false).takeIf { strips },
            lowercase.takeIf { lowers }
        )
    }

    /** Bytes of base64; Android's own decoder and Java's are not on both platforms. */
    private fun decoded(text: String): ByteArray {
        val digits = text.trimEnd('=')
        var bits = 0
        var at = 0
        return ByteArray(digits.length * 6 / 8) {
            while (at * 6 < (it + 1) * 8) {
                val digit = BASE64.indexOf(digits[at++])
                if (digit < 0) refuse("precompiled_charsmap", "no base64", "base64")
                bits = (bits shl 6) or digit
            }
            (bits shr (at * 6 - (it + 1) * 8)).toByte()
        }
    }

    private const val BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
}
