package io.hydraopt.demo

import android.app.Activity
import android.view.View
import android.widget.TextView

/** The tiles of measurements. */
class FiguresView(private val activity: Activity) {
    private var shown: Figures? = null

    /** Shows figures; a dash where there is none yet. */
    fun render(figures: Figures) {
        if (figures == shown) return
        shown = figures
        show(R.id.switch_last, R.string.switch_last, millis(figures.switches.lastOrNull()))
        showSwitches(figures)
        show(R.id.first_token, R.string.first_token, millis(figures.firstToken))
        show(R.id.prefill, R.string.prefill, rate(figures.prefill))
        show(R.id.decode, R.string.decode, rate(figures.decode))
        show(R.id.memory_before, R.string.memory_before, megabytes(figures.memoryBefore))
        show(R.id.memory_now, R.string.memory_now, megabytes(figures.memoryNow))
    }

    private fun showSwitches(figures: Figures) {
        val count = figures.switches.size
        val many = figures.hasPercentiles
        val low = if (many) R.string.switch_p5 else R.string.switch_fastest
        val high = if (many) R.string.switch_p95 else R.string.switch_slowest
        show(R.id.switch_median, R.string.switch_median, millis(figures.switchMedian), count)
        show(R.id.switch_low, low, millis(figures.switchLow), count)
        show(R.id.switch_high, high, millis(figures.switchHigh), count)
    }

    /** TalkBack reads label and value together. */
    private fun show(tile: Int, label: Int, value: String?, vararg arguments: Any) {
        val view: View = activity.findViewById(tile)!!
        val name = activity.getString(label, *arguments)
        view.findViewById<TextView>(R.id.label)!!.text = name
        view.findViewById<TextView>(R.id.value)!!.text = value ?: "–"
        val spoken = value ?: activity.getString(R.string.unmeasured)
        view.contentDescription = "${name.replace('\n', ' ')}: $spoken"
    }

    private fun millis(value: Double?) = value?.let { activity.getString(R.string.millis, it) }

    private fun rate(value: Double?) = value?.let { activity.getString(R.string.rate, it) }

    private fun megabytes(value: Long?) =
        value?.let { activity.getString(R.string.megabytes, it / 1e6) }
}
