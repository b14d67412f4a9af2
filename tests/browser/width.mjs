// How many pixels a page is wider than its window, which has just become `width` wide. A page draws anew once it hears of
// its width, which takes a busy machine longer: it is waited for.
export const excess = async (page, width) => {
    await page.waitForFunction((most) => document.documentElement.scrollWidth <= most, width, { timeout: 10000 }).catch(() => {});
    return await page.evaluate((most) => document.documentElement.scrollWidth - most, width);
};
