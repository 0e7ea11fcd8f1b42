package io.hydraopt.demo

import org.junit.Assert.assertEquals
import org.junit.Test

/** Measurements, as they are read aloud. */
class FiguresScreenTest : ScreenCase() {
    @Test
    fun percentilesAreThoseOfManySwitches() {
        start()
        val view = FiguresView(phone.activity)
        view.render(Figures(List(20) { 20.0 - it }))
        assertEquals("Switches: fastest of 20: 1.00 ms", spoken(R.id.switch_low))
        assertEquals("Switches: slowest of 20: 20.00 ms", spoken(R.id.switch_high))
        view.render(Figures(List(21) { 21.0 - it }))
        assertEquals("Switches: median of 21: 11.00 ms", spoken(R.id.switch_median))
        assertEquals("Switches: p5 of 21: 2.00 ms", spoken(R.id.switch_low))
        assertEquals("Switches: p95 of 21: 20.00 ms", spoken(R.id.switch_high))
    }
}
