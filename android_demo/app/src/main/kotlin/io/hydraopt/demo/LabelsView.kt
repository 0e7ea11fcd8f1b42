package io.hydraopt.demo

import android.app.Activity
import android.view.View
import android.view.ViewGroup
import android.widget.ProgressBar
import android.widget.TextView
import kotlin.math.roundToInt

/** What an encoder or an image model gave, row by row. */
class LabelsView(private val activity: Activity) {
    private val labels: ViewGroup = activity.find(R.id.labels)
    private var shown: Result? = null

    /** The first row, to be read aloud. */
    var spoken = ""
        private set

    /** A line: [share] is drawn as a bar, if there is one. */
    private class Row(val name: String, val value: String = "", val share: Double? = null)

    private fun text(id: Int, vararg arguments: Any?): String = activity.getString(id, *arguments)

    /** Shows a result; null hides it. */
    fun render(result: Result?) {
        labels.isVisible = result != null
        if (result == null || result == shown) return
        shown = result
        val rows = rows(result)
        spoken = rows.firstOrNull()?.let(::spoken).orEmpty()
        labels.fill(rows, R.layout.label) { render(this, it) }
    }

    private fun render(view: View, row: Row) {
        view.contentDescription = spoken(row)
        view.findViewById<TextView>(R.id.label_name)!!.put(row.name)
        view.findViewById<TextView>(R.id.label_value)!!.put(row.value)
        view.findViewById<ProgressBar>(R.id.label_bar)!!.apply {
            isVisible = row.share != null
            progress = ((row.share ?: 0.0) * max).roundToInt()
        }
    }

    private fun spoken(row: Row) =
        if (row.value.isEmpty()) row.name else "${row.name}: ${row.value}"

    private fun rows(result: Result): List<Row> = when (result) {
        is Result.Classes -> classes(result.labels)
        is Result.Tokens -> result.tokens.map { (token, label) ->
            row(text(R.string.label_of, token, label.number), label.probability)
        }
        is Result.Score -> listOf(number(R.string.score, result.value))
        is Result.Embedding -> listOfNotNull(
            Row(text(R.string.numbers), "${result.size}"),
            number(R.string.length, result.length),
            result.similarity?.let { number(R.string.similarity, it) }
        )
    }

    private fun classes(labels: List<Label>): List<Row> {
        val rows = labels.take(MOST).map { row(text(R.string.label, it.number), it.probability) }
        val others = labels.size - rows.size
        if (others == 0) return rows
        return rows + Row(activity.resources.getQuantityString(R.plurals.others, others, others))
    }

    private fun row(name: String, share: Double) =
        Row(name, text(R.string.share, 100 * share), share)

    private fun number(name: Int, value: Double) = Row(text(name), text(R.string.number, value))

    private companion object {
        const val MOST = 10 // classes
    }
}
